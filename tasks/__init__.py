"""The published problems: translation and rotation tasks whose hidden pattern is known, and Omniglot's images.

They are built on the general families of :mod:`msr.tasks`. They are not installed with the package, since ``tasks`` is
too common a name for a user's site-packages: they run from the checkout.
"""

from tasks.images import ImageTasks as ImageTasks
from tasks.rotation import RotationTasks as RotationTasks
from tasks.translation import TranslationTasks as TranslationTasks

__all__ = ["ImageTasks", "RotationTasks", "TranslationTasks"]
