// Package account is one account of Alibaba Cloud KMS in one region, kept in a state
// file: keys with their versions, rotation, states, aliases, tags and protection,
// and the ciphertext that they make and open. An action comes as a name and its
// parameters, and ends in a reply or an error of package wire.
//
// It knows no HTTP, no signature and no endpoint; a caller says whether a request
// came to an instance's own.
package account
