//! kvstore/protocol
