from . import backbones as backbones, csc as csc, records as records
from .api.bench import Bench as Bench, compare as compare
from .api.doctor import doctor as doctor
from .api.training import train as train
from .version import __version__ as __version__
from .zoo.find import load_model as load_model
