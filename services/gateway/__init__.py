"""REST for front ends: serves what the contracts' `google.api.http` says, photos, the demo's sign-in and the reference. Owns no data."""
