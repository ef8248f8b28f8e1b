"""What `torch.export` makes of a module, as a program that JAX runs.

`capture` exports the module in evaluation mode, `state` takes its weights, `lowering` translates
the exported graph into a `Program`, and `program` runs it: without torch, and pure.
"""
