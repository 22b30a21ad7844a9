"""Divergences of a student from its teacher. N targets, V tokens, K most likely tokens of the teacher."""

import math

import torch

from ft_plugin_trainer.predictions import kl_divergence

TINY = 1e-30
"""Where a probability is rounded to nothing, its logarithm is that of this."""


def generalized_jsd(student_logp_NV: torch.Tensor, teacher_logp_NV: torch.Tensor, *, beta: float) -> torch.Tensor:
    """Equation 1 of arXiv:2306.13649, of shape N: ``beta KL(P || M) + (1 - beta) KL(Q || M)``.

    P is the teacher, Q the student, and M is ``beta P + (1 - beta) Q``. At 0 and 1, where this is 0, its limits after
    division by ``beta (1 - beta)``: KL(P || Q) at 0, KL(Q || P) at 1.
    """
    if beta == 0:
        return kl_divergence(teacher_logp_NV, student_logp_NV)
    if beta == 1:
        return kl_divergence(student_logp_NV, teacher_logp_NV)
    mixture_NV = torch.logaddexp(student_logp_NV + math.log1p(-beta), teacher_logp_NV + math.log(beta))
    teacher_N, student_N = (kl_divergence(logp, mixture_NV) for logp in (teacher_logp_NV, student_logp_NV))
    return beta * teacher_N + (1 - beta) * student_N


def with_rest(logp_NK: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of some outcomes and, as one more, of all others together: (N, K + 1)."""
    rest_N = torch.log1p(-logp_NK.exp().sum(-1).clamp(max=1.0)).clamp(min=math.log(TINY))
    return torch.cat([logp_NK, rest_N[:, None]], -1)


def top_k_jsd(
    student_logp_NV: torch.Tensor, ids_NK: torch.Tensor, teacher_logp_NK: torch.Tensor, *, beta: float
) -> torch.Tensor:
    """``generalized_jsd`` where only some tokens are told apart. Exact if K is V, else less: telling less apart does.

    ids_NK  the tokens that ``teacher_logp_NK`` is of
    """
    student_logp_NK = student_logp_NV.gather(-1, ids_NK)
    if ids_NK.shape[1] < student_logp_NV.shape[1]:
        student_logp_NK, teacher_logp_NK = with_rest(student_logp_NK), with_rest(teacher_logp_NK)
    return generalized_jsd(student_logp_NK, teacher_logp_NK, beta=beta)
