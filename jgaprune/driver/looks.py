"""How the children of a run are looked at before they are evaluated in full."""

from jgaprune.driver.call import Call
from jgaprune.driver.ground import Ground
from jgaprune.driver.plan import Plan
from jgaprune.driver.racing import make_screens
from jgaprune.engine import Screen


def screens_of(call: Call, plan: Plan, ground: Ground) -> tuple[Screen, ...]:
    """The looks that a call asked for, at the run's inputs; none to evaluate all children."""
    return make_screens(
        call.model,
        call.racing,
        plan,
        call.objective,
        ground.inputs,
        call.labels,
        ground.repair,
        ground.varied,
    )
