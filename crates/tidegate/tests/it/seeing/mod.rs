//! What operators see: metrics, dashboards and alerts, access logs, ids, health, and the admin token.

mod access_log;
mod failures;
mod ids;
mod metrics;
mod operators;
mod problems;
mod process_log;
