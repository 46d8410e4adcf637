//! Backends: how layers become a root file system.
