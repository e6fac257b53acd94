// Package emulator is Alibaba Cloud KMS (API version 2016-01-20) on the wire,
// for development and tests: the RPC protocol over TLS with a real signature
// check, keys and aliases that survive a crash, and faults on demand.
//
// It is NOT a key management service. Its key material, and the private keys of
// the certificate authorities it makes for itself, lie unprotected in the state
// file. The authorities are named "TEST ONLY" so that a client can recognise and
// refuse them. The product never links this package.
//
// It plays two generations of the service, side by side in one state file. Keys
// of generation 1, the shared version, have UUIDs for ids and belong to nothing.
// Keys of generation 3, KMS 3.0, have ids key-…, in two lengths by turns, and
// belong to an instance: at the shared endpoint they take a switch of the
// console, and the instance has an endpoint and an authority of its own, which
// know no other keys. What an instance's old image answers can be had, too.
//
// What the service documents is answered as documented, what was seen with its
// clients as seen. Where there is neither, a comment says that the answer was
// chosen here, and no client may depend on it. Two rooms below are parts of it: wire
// is requests, signatures and answers, account is what an account holds and does
// (its operations.go is the table of actions). Here is the server:
//
//   - server.go, endpoint.go and ca.go listen, config.go says where, request.go
//     answers;
//   - notemulated.go names the actions that KMS has and the emulator has not,
//     quota.go bounds how often;
//   - location.go is the Location service, as far as it tells where KMS is;
//   - faults.go, stats.go and admin.go are the misbehaviour on demand.
//
// Left out: asymmetric and imported keys, key policies (accepted by CreateKey
// and ignored), secrets and certificates, TagResources and its like (all of
// these answer that they are not emulated), the API of instances in protobuf, the
// signatures ACS3-HMAC-SM3, ACS3-RSA-SHA256 and ACS4, bearer tokens, the
// permissions of RAM, and plain HTTP (the gateway's InvalidProtocol.NeedSsl can
// be had as a fault).
package emulator
