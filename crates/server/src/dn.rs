//! The text of a certificate's subject, by which MONGODB-X509 knows a user: RFC 2253, as `openssl x509 -subject -nameopt RFC2253` prints it.

use std::fmt::Write;

use x509_parser::der_parser::asn1_rs::Any;
use x509_parser::x509::X509Name;

/// The names of attributes that have one, as OpenSSL calls them; others stand as numbers.
const NAMES: &[(&str, &str)] = &[
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.46", "dnQualifier"),
];

/// The last attribute first. `None` where there is none, or where a part of it has no name or is no text, and could stand
/// for more than one subject.
pub fn rfc2253(name: &X509Name<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for rdn in name.iter() {
        // An empty set of attributes would leave a comma and nothing more.
        if rdn.iter().next().is_none() {
            return None;
        }
        let mut part = String::new();
        for attribute in rdn.iter() {
            if !part.is_empty() {
                part.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            if oid.is_empty() {
                return None;
            }
            let known = NAMES.iter().find(|(number, _)| *number == oid).map(|(_, name)| *name);
            let _ = write!(part, "{}=", known.unwrap_or(&oid));
            match known {
                Some(_) => escape(&text(attribute.attr_value())?, &mut part),
                // Of what has no name nobody knows how it is written.
                None => hex(attribute.attr_value(), &mut part),
            }
        }
        parts.push(part);
    }
    parts.reverse();
    // Who has no name is nobody.
    Some(parts.join(",")).filter(|name| !name.is_empty())
}

/// The text of the kinds of strings that a name may hold.
fn text(value: &Any<'_>) -> Option<String> {
    use x509_parser::der_parser::asn1_rs::Tag;
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => String::from_utf8(bytes.to_vec()).ok(),
        Tag::BmpString => {
            let units: Vec<u16> = bytes.chunks(2).map(|two| two.iter().fold(0, |n, b| n << 8 | u16::from(*b))).collect();
            String::from_utf16(&units).ok().filter(|_| bytes.len() % 2 == 0)
        }
        // T.61 is Latin-1 in certificates.
        Tag::TeletexString => Some(bytes.iter().map(|b| char::from(*b)).collect()),
        _ => None,
    }
}

fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            ' ' if i == 0 || i == last => out.push_str("\\ "),
            '#' if i == 0 => out.push_str("\\#"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\{:02X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// `#` and the value's DER, which a short form of its length begins wherever it has one.
fn hex(value: &Any<'_>, out: &mut String) {
    out.push('#');
    let len = value.data.len();
    let mut der = vec![value.tag().0 as u8 | if value.header.is_constructed() { 0x20 } else { 0 }];
    if len < 128 {
        der.push(len as u8);
    } else {
        let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        der.push(0x80 | bytes.len() as u8);
        der.extend(bytes);
    }
    der.extend_from_slice(value.data);
    for byte in der {
        let _ = write!(out, "{byte:02X}");
    }
}
