.PHONY: check
check:  ## all that CI checks but the demo and the parity tests, in the current environment
	ruff format --check .
	ruff check .
	mypy
	pytest
