//! What can be said of events without sockets: CloudEvents 1.0 in their forms, and subjects that brokers route by.

pub mod cloud;
pub mod subject;
