//! The server against the requirements of the OCI distribution specification 1.1: one test an end
//! point, one line a status.

mod discovery;
mod end_points;
mod management;
mod mirror;
mod pull;
mod push;
mod world;
