//! Upstreams that fail: retries, breaker, bulkhead, health, outages, connections.
