# SPDX-License-Identifier: Apache-2.0
"""What PyTorch calls when it is imported (entry point torch.backends). A module of its own, because every `import torch`
pays for it: it loads nothing of weft."""


def register() -> None:
    pass
