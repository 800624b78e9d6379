"""What the private messages promise to a server of many threads."""

import gc
import weakref

from serving import messages


def test_classes_outlive_their_instances():
    """Else a thread may take a class that another thread collects as garbage."""
    classes = [
        weakref.ref(type(message))
        for message in (
            messages.PredictRequest().model_spec,
            messages.PredictRequest().model_spec.version,
            messages.ModelServerConfig().model_config_list.config.add(),
        )
    ]
    gc.collect()
    assert None not in [kept() for kept in classes]
