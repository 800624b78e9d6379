"""Building blocks of networks."""

import pytest

from zoo import networks


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match=r"'batch', 'layer' or None.*'group'"):
        networks.normalization_layer("group")
