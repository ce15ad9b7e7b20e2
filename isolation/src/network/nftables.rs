//! The address translation of a bridge, as an nftables table of its own.
//!
//! ```text
//! table ip mica-<bridge> {
//!     chain postrouting {
//!         type nat hook postrouting priority 100;
//!         ip saddr <subnet> oifname != "<bridge>" masquerade
//!     }
//! }
//! ```
//!
//! There is no chain that accepts forwarded packets: an accept ends only its own table's verdict,
//! so it could not overrule another table (docker's, a firewall's) that drops them.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netlink;

use super::netlink::{Request, Socket};

// linux/netfilter/nfnetlink.h
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;

// linux/netfilter/nf_tables.h: messages
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;

// attributes
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;

// values
const HOOK_POSTROUTING: u32 = 4; // NF_INET_POST_ROUTING
const PRIORITY_SOURCE_NAT: u32 = 100; // NF_IP_PRI_NAT_SRC
const REGISTER: u32 = 1; // NFT_REG_1
const NETWORK_HEADER: u32 = 1; // NFT_PAYLOAD_NETWORK_HEADER
const SOURCE_ADDRESS_OFFSET: u32 = 12; // in an IPv4 header
const META_OUTPUT_INTERFACE_NAME: u32 = 7; // NFT_META_OIFNAME
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// The name of the only chain.
const CHAIN: &str = "postrouting";

/// Makes what leaves the host from a bridge's subnet leave with the host's address. A table left
/// over from before is replaced.
pub(crate) fn create(bridge: &str, subnet: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let table = table_name(bridge);
    batch(vec![
        new_table(&table),
        delete_table(&table),
        new_table(&table),
        new_chain(&table),
        new_rule(&table, bridge, subnet, prefix),
    ])
}

/// Removes a bridge's table; one that is gone already is as good.
pub(crate) fn remove(bridge: &str) -> io::Result<()> {
    match batch(vec![delete_table(&table_name(bridge))]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Returns whether the kernel speaks nftables to this process.
pub(crate) fn is_present() -> bool {
    let tables = Request::new(SUBSYSTEM << 8 | 1, 0, &[libc::AF_INET as u8, 0, 0, 0]); // GETTABLE
    Socket::open(Some(netlink::NETFILTER))
        .and_then(|socket| socket.dump(tables))
        .is_ok()
}

fn table_name(bridge: &str) -> String {
    format!("mica-{bridge}")
}

fn batch(requests: Vec<Request>) -> io::Result<()> {
    let mark = |kind| {
        let header = [libc::AF_UNSPEC as u8, 0, 0, SUBSYSTEM as u8];
        Request::new(kind, 0, &header)
    };
    let mut all = vec![mark(BATCH_BEGIN)];
    all.extend(requests);
    all.push(mark(BATCH_END));
    Socket::open(Some(netlink::NETFILTER))?.batch(all)
}

fn request(kind: u16, flags: i32) -> Request {
    let header = [libc::AF_INET as u8, 0, 0, 0]; // nfgenmsg
    Request::new(kind, flags | libc::NLM_F_ACK, &header)
}

fn new_table(table: &str) -> Request {
    request(NEW_TABLE, libc::NLM_F_CREATE).with_string(TABLE_NAME, table)
}

fn delete_table(table: &str) -> Request {
    request(DELETE_TABLE, 0).with_string(TABLE_NAME, table)
}

fn new_chain(table: &str) -> Request {
    request(NEW_CHAIN, libc::NLM_F_CREATE)
        .with_string(CHAIN_TABLE, table)
        .with_string(CHAIN_NAME, CHAIN)
        .nested(CHAIN_HOOK, |hook| {
            hook.with(HOOK_NUMBER, &HOOK_POSTROUTING.to_be_bytes())
                .with(HOOK_PRIORITY, &PRIORITY_SOURCE_NAT.to_be_bytes())
        })
        .with_string(CHAIN_TYPE, "nat")
}

fn new_rule(table: &str, bridge: &str, subnet: Ipv4Addr, prefix: u8) -> Request {
    // Interface names are compared in full, padded with NUL to the kernel's IFNAMSIZ.
    let mut interface = [0; libc::IFNAMSIZ];
    let length = bridge.len().min(libc::IFNAMSIZ - 1);
    interface[..length].copy_from_slice(&bridge.as_bytes()[..length]);
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix))
        .unwrap_or(0)
        .to_be_bytes();
    request(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND)
        .with_string(RULE_TABLE, table)
        .with_string(RULE_CHAIN, CHAIN)
        .nested(RULE_EXPRESSIONS, |list| {
            let list = expression(list, "payload", |data| {
                data.with(1, &REGISTER.to_be_bytes()) // NFTA_PAYLOAD_DREG
                    .with(2, &NETWORK_HEADER.to_be_bytes()) // NFTA_PAYLOAD_BASE
                    .with(3, &SOURCE_ADDRESS_OFFSET.to_be_bytes()) // NFTA_PAYLOAD_OFFSET
                    .with(4, &4_u32.to_be_bytes()) // NFTA_PAYLOAD_LEN
            });
            let list = expression(list, "bitwise", |data| {
                data.with(1, &REGISTER.to_be_bytes()) // NFTA_BITWISE_SREG
                    .with(2, &REGISTER.to_be_bytes()) // NFTA_BITWISE_DREG
                    .with(3, &4_u32.to_be_bytes()) // NFTA_BITWISE_LEN
                    .nested(4, |value| value.with(DATA_VALUE, &mask)) // NFTA_BITWISE_MASK
                    .nested(5, |value| value.with(DATA_VALUE, &[0; 4])) // NFTA_BITWISE_XOR
            });
            let list = compare(list, EQUAL, &subnet.octets());
            let list = expression(list, "meta", |data| {
                data.with(1, &REGISTER.to_be_bytes()) // NFTA_META_DREG
                    .with(2, &META_OUTPUT_INTERFACE_NAME.to_be_bytes()) // NFTA_META_KEY
            });
            let list = compare(list, NOT_EQUAL, &interface);
            expression(list, "masq", |data| data)
        })
}

fn compare(list: Request, operator: u32, value: &[u8]) -> Request {
    expression(list, "cmp", |data| {
        data.with(1, &REGISTER.to_be_bytes()) // NFTA_CMP_SREG
            .with(2, &operator.to_be_bytes()) // NFTA_CMP_OP
            .nested(3, |data| data.with(DATA_VALUE, value)) // NFTA_CMP_DATA
    })
}

fn expression(list: Request, name: &str, fill: impl FnOnce(Request) -> Request) -> Request {
    list.nested(LIST_ELEMENT, |element| {
        element
            .with_string(EXPRESSION_NAME, name)
            .nested(EXPRESSION_DATA, fill)
    })
}
