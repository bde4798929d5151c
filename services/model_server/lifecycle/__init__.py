"""The life cycle of served versions: what is wanted, what is loaded, who may use it, and what is told about it.

From the file system to a request: ``storage_path_source`` finds version directories and says which are wanted,
``aspired_versions_manager`` decides by ``policy`` what to load or unload next, ``basic_manager`` does it on its
executors, ``serving_map`` hands loaded versions to requests, ``servable_state_monitor`` remembers every state.
``server_core`` joins them and applies configurations.
"""

from .config_file_poller import ConfigFilePoller
from .server_core import CoreOptions, ServerCore
from .states import ManagerState, VersionReport

__all__ = ["ConfigFilePoller", "CoreOptions", "ManagerState", "ServerCore", "VersionReport"]
