"""Training steps that NaN and infinity cannot spoil.

Authors
 * The speechbrain_lmac authors 2026
"""

import torch
from speechbrain.utils.logger import get_logger

from speechbrain_lmac.utils.checks import UserError
from speechbrain_lmac.utils.distributed import any_of, gradients_are_finite

logger = get_logger(__name__)


class FiniteSteps:
    """Leaves out the steps whose loss or gradient is not finite.

    To be put before ``sb.Brain`` among the bases. Reads ``history.bad_steps``
    (kept with the checkpoints), ``hparams.epoch_counter`` and SpeechBrain's
    option ``nonfinite_patience``.
    """

    bad_loss = None

    def check_loss_isfinite(self, loss):
        """Note a loss that is not; :meth:`optimizers_step` sees to it."""
        if not torch.isfinite(loss):
            self.bad_loss = loss.item()

    def optimizers_step(self):
        """As SpeechBrain's; what is not finite changes no weight.

        Neither a loss nor a gradient, of any part of an accumulated batch, in
        any process: all leave out the same steps.
        """
        bad, self.bad_loss = self.bad_loss, None
        found = None if bad is None else f"The loss is {bad}"
        # With float16 the scaler does this, and adapts to it.
        if found is None and not self.scaler.is_enabled():
            trained = self.optimizer.param_groups[0]["params"]
            if not gradients_are_finite(trained):
                found = "The gradient is not finite"
        if not any_of(found is not None, self.device):
            self.history.bad_steps = 0
            super().optimizers_step()
            return
        self.zero_grad(set_to_none=True)
        self.leave_out(found or "Another process has a loss that is not finite")

    def leave_out(self, found):
        """Count a step without a usable gradient; too many end the run."""
        self.nonfinite_count += 1
        self.history.bad_steps += 1  # in a row, over epochs
        count = max(self.nonfinite_count, self.history.bad_steps)
        epoch = self.hparams.epoch_counter.current
        where = f"in step {self.step} of epoch {epoch}"
        if count <= self.nonfinite_patience:
            logger.warning("%s %s: the step is left out", found, where)
            return
        raise UserError(
            f"{found} {where}, the {count}th such step: training stops. The "
            "last good checkpoint is kept. Lower `lr`, or look for broken "
            "clips; --nonfinite_patience says how many such steps are left "
            "out."
        )

    def update_average(self, loss, avg_loss):
        """As SpeechBrain's; a validation's loss is NaN if a part of it is.

        Left out, it would make the loss of a broken network the best one.
        """
        if self.modules.training or torch.isfinite(loss):
            return super().update_average(loss, avg_loss)
        return float("nan")
