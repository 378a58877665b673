"""YAML → a validated config → components. Every fault of a config is found in one go and told in one error."""

from trunkline.config.components import BalancerConfig, Catalogs, ComponentConfig, InputConfig, TaskConfig
from trunkline.config.dump import as_plain, setting, to_yaml
from trunkline.config.load import load_config
from trunkline.config.sections import Config, DataConfig, Training
from trunkline.config.settings import as_training

__all__ = [
    "BalancerConfig",
    "Catalogs",
    "ComponentConfig",
    "Config",
    "DataConfig",
    "InputConfig",
    "TaskConfig",
    "Training",
    "as_plain",
    "as_training",
    "load_config",
    "setting",
    "to_yaml",
]
