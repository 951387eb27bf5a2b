//! Netlink requests.
