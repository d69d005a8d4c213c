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
from stkit.testing.stack_contract import StackContract

__all__ = ["CELL_RULES", "STACK_RULES", "CellContract", "ContractViolation", "Rule", "StackContract"]
