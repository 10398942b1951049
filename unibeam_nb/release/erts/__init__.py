"""Emulators to run releases on: the one a release comes with, a lean one built from source, or any other."""
