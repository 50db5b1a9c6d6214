"""Families of related tasks: problems whose hidden structure is known, and readers for one's own."""

from tasks.files import FileTasks as FileTasks
from tasks.images import ImageTasks as ImageTasks
from tasks.rotation import RotationTasks as RotationTasks
from tasks.translation import TranslationTasks as TranslationTasks

__all__ = ["FileTasks", "ImageTasks", "RotationTasks", "TranslationTasks"]
