//! Looks up the hosts of push services, and refuses those that are not on the public Internet.
//!
//! A paired device chooses the endpoint, and must not use us to reach this machine or its network. The client connects to
//! the very addresses that are checked here. It sends nothing through a proxy, which would look names up itself.

use std::io;
use std::net::{IpAddr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use super::subscription::address_in;
use crate::sys::net::is_public_address;

/// How names are looked up, and which addresses may be connected to.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    lookup: Lookup,
    may: fn(IpAddr) -> bool,
}

#[derive(Debug, Clone)]
enum Lookup {
    System,
    #[cfg(test)]
    Table(std::collections::HashMap<String, Vec<IpAddr>>),
}

impl Addresses {
    /// Asks the system, and allows public addresses only.
    pub(super) fn public() -> Addresses {
        Addresses {
            lookup: Lookup::System,
            may: is_public_address,
        }
    }

    /// Knows only these names.
    #[cfg(test)]
    pub(super) fn for_test(table: &[(&str, &[&str])], may: fn(IpAddr) -> bool) -> Addresses {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let table = table.iter();
        let table = table.map(|(name, texts)| ((*name).to_owned(), addresses(texts)));
        Addresses {
            lookup: Lookup::Table(table.collect()),
            may,
        }
    }

    /// Returns true unless the URL has an address, instead of a name, that may not be connected to.
    pub(super) fn allow(&self, url: &Url) -> bool {
        address_in(url).is_none_or(self.may)
    }

    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        match &self.lookup {
            // The client sets the port.
            Lookup::System => Ok(lookup_host((name, 0)).await?.collect()),
            #[cfg(test)]
            Lookup::Table(table) => {
                let known = table.get(name).ok_or(io::ErrorKind::NotFound)?;
                Ok(known.iter().map(|ip| SocketAddr::new(*ip, 0)).collect())
            }
        }
    }
}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let found = this.lookup(name.as_str()).await?;
            // A name of the Internet has no private address as well. One that has is somebody's attempt.
            if !found.iter().all(|address| (this.may)(address.ip())) {
                let why = "its name resolves to an address that the public Internet does not have";
                return Err(io::Error::other(why).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
