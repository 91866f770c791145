"""Mistakes in losses and their reductions."""

from jaxdnn.parity.traps.trap import Trap

__all__ = ["TRAPS"]

TRAPS: dict[str, Trap] = {
    "bce-clamp": Trap(
        "loss",
        "BCELoss bounds each logarithm at -100 and its derivative's denominator at 1e-12",
        "-y max(log x, -100) - (1-y) max(log(1-x), -100); slope (x-y) / max(x(1-x), 1e-12)",
        "-y log x - (1-y) log(1-x), perhaps of clipped probabilities",
        "jaxdnn.losses.bce",
    ),
    "bce-of-logits": Trap(
        "loss",
        "BCELoss takes probabilities; optax.sigmoid_binary_cross_entropy takes logits",
        "-y log x - (1-y) log(1-x)",
        "the same with sigmoid(x) for x",
        "jaxdnn.losses.bce, or leave out the network's sigmoid on both sides",
    ),
    "pos-weight": Trap(
        "loss",
        "pos_weight multiplies the positive term of each element, and nothing divides by it",
        "-p y log s(x) - (1-y) log(1-s(x)), mean over elements",
        "without p, with p on both terms, or divided by the sum of the weights",
        "jaxdnn.losses.bce_with_logits(..., pos_weight=p)",
    ),
    "mse-half": Trap(
        "loss",
        "optax.l2_loss is half the square",
        "mean (x-y)^2",
        "mean (x-y)^2 / 2",
        "optax.squared_error or jaxdnn.losses.mse",
    ),
    "mse-broadcast": Trap(
        "loss",
        "outputs (N, 1) and targets (N,) broadcast to N by N differences",
        "mean over N of (x_i - y_i)^2",
        "mean over N^2 of (x_i - y_j)^2",
        "give both the same shape; jaxdnn.losses.mse refuses others",
    ),
    "reduction-sum": Trap(
        "loss",
        "the port sums where torch takes the mean",
        "sum of l / number of l",
        "sum of l",
        "take the mean",
    ),
    "reduction-mean": Trap(
        "loss",
        "the port takes the mean where torch sums",
        "sum of l",
        "sum of l / number of l",
        "take the sum",
    ),
    "reduction-per-example": Trap(
        "loss",
        "the port divides by the examples, where torch divides by all elements or by nothing",
        "mean over all elements, or their sum",
        "sum of l / number of rows",
        "reduce over all elements as torch's reduction says",
    ),
    "cross-entropy-weights": Trap(
        "loss",
        "with class weights, CrossEntropyLoss divides by the sum of the labels' weights",
        "sum w[y] l / sum w[y]",
        "sum w[y] l / N, or without weights",
        "jaxdnn.losses.cross_entropy(..., weight=w)",
    ),
    "ignore-index": Trap(
        "loss",
        "labels equal to ignore_index neither contribute nor count",
        "sum of l where y != ignored / number of those y",
        "divided by all N; or label -1 means the last class; or NaN",
        "jaxdnn.losses.cross_entropy, which has ignore_index=-100",
    ),
    "label-smoothing": Trap(
        "loss",
        "label smoothing mixes in 1/K for every class, including the right one",
        "(1-e) l[y] + e/K sum over k of l[k]",
        "none, e/(K-1) for the other classes only, or e/K added to a whole 1",
        "jaxdnn.losses.cross_entropy(..., label_smoothing=e)",
    ),
    "softmax-twice": Trap(
        "loss",
        "CrossEntropyLoss takes logits, and the port gives it probabilities",
        "-log softmax(z)[y]",
        "-log softmax(softmax(z))[y]",
        "leave out the softmax in front of the loss",
    ),
    "kl-div-mean": Trap(
        "loss",
        "KLDivLoss's 'mean' divides by all elements, 'batchmean' by the rows",
        "sum y (log y - x) / number of elements, or of rows",
        "the other of the two",
        "jaxdnn.losses.kl_div with torch's reduction",
    ),
    "smooth-l1-huber": Trap(
        "loss",
        "SmoothL1Loss(beta) is the Huber loss divided by beta",
        "d^2 / (2 beta) below beta, |d| - beta/2 above",
        "d^2 / 2 below delta, delta (|d| - delta/2) above",
        "jaxdnn.losses.smooth_l1 or huber, as torch has it",
    ),
}
