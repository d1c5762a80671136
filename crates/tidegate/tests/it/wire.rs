//! HTTP on the wire: framing, streaming, 1xx, trailers, upgrades, aborts, drain.
