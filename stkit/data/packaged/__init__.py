"""The data that ships with the package; LICENCES.md says where it comes from."""
