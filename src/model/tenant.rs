//! Who a sample or a question belongs to, as a header tells it.

use super::labels::Tenant;

/// The header that names the tenant.
pub const TENANT_HEADER: &str = "X-Scope-OrgID";

/// A tenant's name that cannot be read. Taken for no name, it would be the tenant with the empty one: what belongs to one
/// would cross to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("tenant-malformed: {TENANT_HEADER} is not printable ASCII")]
pub struct TenantMalformed;

/// The tenant that a header names; the one of the empty name without the header.
///
/// # Errors
/// When the name is not printable ASCII.
pub fn tenant_of_header(value: Option<&[u8]>) -> Result<Tenant, TenantMalformed> {
    let bytes = value.unwrap_or_default();
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    text.map(Tenant::from).ok_or(TenantMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_read_is_no_other_tenants() {
        assert_eq!(tenant_of_header(None), Ok(Tenant::default()));
        assert_eq!(tenant_of_header(Some(b"")), Ok(Tenant::default()));
        assert_eq!(tenant_of_header(Some(b"team a|~")), Ok(Tenant::from("team a|~")));
        for malformed in ["é".as_bytes(), b"\xff", b"a\tb", b"a\x7f"] {
            assert_eq!(tenant_of_header(Some(malformed)), Err(TenantMalformed), "{malformed:?}");
        }
    }
}
