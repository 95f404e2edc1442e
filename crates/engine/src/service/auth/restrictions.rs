//! Where a user may come from: `authenticationRestrictions` of users and roles.

use std::net::IpAddr;

use smongo_bson::{Array, Doc, DocBuf, Result, Value, ValueBuf, bail};

use crate::service::command::{Args, Way};

/// One entry of a list: addresses that the client's, and the server's, must be among.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    client: Option<Vec<Range>>,
    server: Option<Vec<Range>>,
}

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    address: IpAddr,
    bits: u8,
}

impl Range {
    fn parse(text: &str) -> Option<Range> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => (address, Some(bits.parse().ok()?)),
            Some(_) => return None,
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = width(address);
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Range { address, bits })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let prefix = |address: IpAddr| {
            let (number, width) = match address {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            };
            // All bits of an address of no bits are shifted away.
            number.checked_shr(u32::from(width - self.bits)).unwrap_or(0)
        };
        let same_kind = self.address.is_ipv4() == address.is_ipv4();
        same_kind && prefix(self.address) == prefix(address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Restriction {
    fn parse(doc: Doc<'_>) -> Result<Restriction> {
        let mut args = Args::nested("authenticationRestrictions", doc);
        let (client, server) = (ranges(&mut args, "clientSource")?, ranges(&mut args, "serverAddress")?);
        args.finish()?;
        Ok(Restriction { client, server })
    }

    fn admits(&self, client: Option<IpAddr>, server: Option<IpAddr>) -> bool {
        let among = |ranges: &Option<Vec<Range>>, address: Option<IpAddr>| {
            ranges.as_ref().is_none_or(|ranges| address.is_some_and(|address| ranges.iter().any(|range| range.holds(address))))
        };
        among(&self.client, client) && among(&self.server, server)
    }
}

fn ranges(args: &mut Args<'_>, name: &str) -> Result<Option<Vec<Range>>> {
    let Some(list) = args.array(name)? else { return Ok(None) };
    let range = |v: Value<'_>| match v {
        Value::String(text) => match Range::parse(text) {
            Some(range) => Ok(range),
            None => bail!(BadValue, "'{text}' in {name} is neither an address nor a range of addresses"),
        },
        v => bail!(TypeMismatch, "{name} must hold strings, found {}", v.type_name()),
    };
    list.iter().map(range).collect::<Result<_>>().map(Some)
}

/// Reads a list of them.
pub fn parse(list: Array<'_>) -> Result<Vec<Restriction>> {
    let one = |v: Value<'_>| match v {
        Value::Document(doc) => Restriction::parse(doc),
        v => bail!(TypeMismatch, "authenticationRestrictions must hold objects, found {}", v.type_name()),
    };
    list.iter().map(one).collect()
}

/// What a command gives, checked.
pub fn given(args: &mut Args<'_>) -> Result<Option<ValueBuf>> {
    let Some(list) = args.array("authenticationRestrictions")? else { return Ok(None) };
    parse(list)?;
    Ok(Some(ValueBuf::new(Value::Array(list))))
}

/// The list stored in a user or role.
pub fn stored(doc: Doc<'_>) -> Result<Vec<Restriction>> {
    match doc.get("authenticationRestrictions") {
        Value::Array(list) => parse(list),
        v if v.is_nullish() => Ok(Vec::new()),
        v => bail!(TypeMismatch, "authenticationRestrictions must be an array, found {}", v.type_name()),
    }
}

/// Whether lists admit who comes that way: of each that is not empty, one entry. A caller in the same process comes from nowhere, and
/// is not restricted.
pub fn admit(lists: &[Vec<Restriction>], way: Way) -> bool {
    let (from, to) = match way {
        Way::Process => return true,
        Way::Socket => (None, None),
        Way::Ip { from, to } => (Some(from), Some(to)),
    };
    lists.iter().all(|list| list.is_empty() || list.iter().any(|one| one.admits(from, to)))
}

/// As it is stored: an empty list is not.
pub fn to_store(list: Option<&ValueBuf>) -> Value<'_> {
    list.filter(|list| list.as_array().is_some_and(|list| !list.is_empty())).map_or(Value::Missing, ValueBuf::view)
}

/// The lists of roles that have one.
pub fn inherited(roles: &[DocBuf]) -> ValueBuf {
    ValueBuf::array(|w| {
        for role in roles {
            if let Value::Array(list) = role.get("authenticationRestrictions") {
                w.push(list);
            }
        }
    })
}

/// The list as it is shown: empty where there is none.
pub fn shown(doc: Doc<'_>) -> ValueBuf {
    match doc.get("authenticationRestrictions") {
        Value::Array(list) => ValueBuf::new(Value::Array(list)),
        _ => ValueBuf::array(|_| {}),
    }
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;

    use super::*;

    #[test]
    fn ranges_hold_what_begins_alike() {
        let holds = |range: &str, address: &str| Range::parse(range).unwrap().holds(address.parse().unwrap());
        for (range, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.1.0.0/16", "10.1.255.3", "10.2.0.0"),
            ("10.1.0.0/15", "10.0.0.3", "10.2.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::1", "::1", "::2"),
            ("fe80::/10", "febf::1", "fec0::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
        ] {
            assert!(holds(range, inside) && !holds(range, outside), "{range}");
        }
        for wrong in ["", "host", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "/8"] {
            assert_eq!(Range::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn one_entry_of_each_list_must_admit() {
        let list = |text: &str| parse(parse_doc(&format!("{{\"l\": {text}}}")).unwrap().get("l").as_array().unwrap()).unwrap();
        let home = list(r#"[{"clientSource": ["10.0.0.0/8", "::1"]}, {"clientSource": ["192.168.0.1"], "serverAddress": ["127.0.0.1"]}]"#);
        let server = list(r#"[{"serverAddress": ["127.0.0.1"]}]"#);
        let admits = |lists: &[Vec<Restriction>], from: &str, to: &str| admit(lists, Way::Ip { from: from.parse().unwrap(), to: to.parse().unwrap() });
        assert!(admits(&[home.clone(), server.clone(), Vec::new()], "10.1.1.1", "127.0.0.1"));
        assert!(admits(&[home.clone()], "::1", "::1"));
        assert!(!admits(&[home.clone(), server.clone()], "10.1.1.1", "127.0.0.2"));
        assert!(!admits(&[home.clone()], "192.168.0.1", "127.0.0.2"));
        assert!(!admit(&[home.clone()], Way::Socket) && admit(&[Vec::new()], Way::Socket) && admit(&[home], Way::Process));
    }
}
