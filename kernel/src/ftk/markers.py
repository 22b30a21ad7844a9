"""The two decorators that plugin authors use."""

import pluggy

hookspec = pluggy.HookspecMarker("ftk")
hookimpl = pluggy.HookimplMarker("ftk")
