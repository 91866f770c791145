"""Mistakes in learning-rate schedules."""

from jaxdnn.parity.traps.trap import Trap

__all__ = ["TRAPS"]

TRAPS: dict[str, Trap] = {
    "schedule-per-update": Trap(
        "schedule",
        "torch's schedule advances when it is called, here once an epoch; optax's at every update",
        "lr(t // steps per epoch)",
        "lr(t)",
        "jaxdnn.optim.per_epoch(schedule, steps_per_epoch)",
    ),
    "schedule-missing": Trap(
        "schedule",
        "the port's learning rate is constant",
        "lr(t)",
        "lr(0)",
        "give the schedule",
    ),
    "schedule-offset": Trap(
        "schedule",
        "the port's schedule is one count ahead or behind",
        "lr(t), t from 0",
        "lr(t + 1) or lr(t - 1)",
        "count updates from 0",
    ),
    "cosine-end": Trap(
        "schedule",
        "after T_max torch's cosine rises again, optax's stays",
        "low + (lr - low) (1 + cos(pi t / T)) / 2 for every t",
        "low for t > T",
        "jaxdnn.optim.cosine_annealing_lr",
    ),
    "cosine-alpha": Trap(
        "schedule",
        "optax's alpha is a fraction of the learning rate, torch's eta_min a learning rate",
        "ends at eta_min",
        "ends at lr eta_min, or at 0",
        "alpha = eta_min / lr, or jaxdnn.optim.cosine_annealing_lr",
    ),
    "linear-start": Trap(
        "schedule",
        "LinearLR starts at a third",
        "from lr / 3",
        "from 0, or from lr",
        "jaxdnn.optim.linear_lr",
    ),
    "step-smooth": Trap(
        "schedule",
        "StepLR stays on a step; optax.exponential_decay falls at every count",
        "lr g^floor(t / s)",
        "lr g^(t / s)",
        "staircase=True, or jaxdnn.optim.step_lr",
    ),
    "one-cycle-momentum": Trap(
        "schedule",
        "OneCycleLR cycles the momentum too",
        "m from 0.95 to 0.85 and back",
        "m constant",
        "both schedules of jaxdnn.optim.one_cycle_lr",
    ),
    "one-cycle-shape": Trap(
        "schedule",
        "optax.cosine_onecycle_schedule turns at other counts and ends at another rate",
        "peak at pct_start T - 1, end at lr / div / final_div",
        "peak at floor(pct_start T), end at lr / final_div",
        "jaxdnn.optim.one_cycle_lr",
    ),
}
