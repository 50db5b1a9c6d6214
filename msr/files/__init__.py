"""Files: written whole or not at all, and read with every size checked against the file and against free memory."""

from msr.files.writing import Write as Write
from msr.files.writing import append_line as append_line
from msr.files.writing import refuse_inputs as refuse_inputs
from msr.files.writing import write_together as write_together
from msr.files.writing import write_whole as write_whole

__all__ = ["Write", "append_line", "refuse_inputs", "write_together", "write_whole"]
