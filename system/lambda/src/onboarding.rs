//! The work itself.

use serde::Deserialize;

/// A customer who wants to be onboarded: the body of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Customer {
    /// The identifier that the caller of the API gave.
    pub customer_id: String,
    /// Where the customer can be reached.
    pub email: String,
}

/// Why a customer could not be onboarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorkError(pub String);

/// Onboards a customer: the place for what a real system does, such as writing to a database.
///
/// # Errors
/// None so far.
pub async fn onboard(customer: &Customer) -> Result<(), WorkError> {
    tracing::debug!(customer_id = customer.customer_id, "onboarded");
    Ok(())
}
