"""The contract that every plugin inherits: one class for cells, one for whole architectures.

.. code-block:: python

    from stkit.testing.contract import CellContract, StackContract


    class TestMyCell(CellContract):
        name = "my_cell"


    class TestMyArchitecture(StackContract):
        name = "my_architecture"
"""

from stkit.testing.cell_contract import CellContract
from stkit.testing.rules import CELL_RULES, STACK_RULES, ContractViolation, Rule

__all__ = ["CELL_RULES", "STACK_RULES", "CellContract", "ContractViolation", "Rule"]
