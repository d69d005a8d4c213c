"""What the tests of any plugin build on: Hypothesis strategies and the contract that every cell and stack meets.

Needs the test extra: ``pip install 'stkit-torch[test]'``. Nothing of the core imports this package.
"""

from stkit.testing import _extra as _extra  # before any module here asks for hypothesis
