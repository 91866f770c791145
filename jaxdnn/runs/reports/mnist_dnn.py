"""The report of ``jaxdnn run mnist-dnn``: train, and evaluate on the test images."""

from jaxdnn.models import Model
from jaxdnn.runs import digits
from jaxdnn.runs.digits import Inputs
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import Request
from jaxdnn.workflows.mnist_dnn import CLASSIFIER, Config, init, predict

__all__ = ["SEED", "Config", "Inputs", "network", "run"]

SEED = 0


def run(request: Request) -> Result:
    """Train the network, and report the test accuracy after every epoch."""
    return digits.run(request, CLASSIFIER, workflow="mnist-dnn", remarks=_REMARKS)


_REMARKS = (
    "002, section 6: torch does not turn labels into one-hot vectors by itself; its cross-entropy "
    "takes the indices of the classes",
)


def network(features: int) -> Model:
    """The network, whose inputs are images as bytes; the number of features is not used."""
    return Model(lambda key: init(key, Config()).params, predict)
