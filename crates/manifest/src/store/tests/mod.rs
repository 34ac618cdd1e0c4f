//! What a crash, a fault or another process may do to the store.
