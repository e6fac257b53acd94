// Package emulator is Alibaba Cloud KMS (API version 2016-01-20) on the wire,
// for development and tests: the RPC protocol over TLS with a real signature
// check, keys and aliases that survive a crash, and faults on demand.
//
// It is NOT a key management service. Its key material, and the private key of
// the certificate authority it makes for itself, lie unprotected in the state
// file. The authority is named "TEST ONLY" so that a client can recognise and
// refuse it. The product never links this package.
//
// What the service documents is answered as documented, what was seen with its
// clients as seen. Where there is neither, a comment says that the answer was
// chosen here, and no client may depend on it. The rooms:
//
//   - server.go, call.go and request.go speak HTTP, xml.go one of its formats;
//   - signature.go and acs3.go are the two signature families, authenticate.go
//     and tokens.go who may sign, quota.go how often;
//   - operations.go is the table of actions, keys.go, keystate.go, aliases.go,
//     versions.go, rotation.go, tags.go, crypto.go and their like perform them;
//   - blob.go and nested.go are the two layouts of ciphertext, state.go the
//     file, errors.go and catalogue.go what can be refused;
//   - faults.go and admin.go are the misbehaviour on demand.
//
// Left out: asymmetric and imported keys, key policies (accepted by CreateKey
// and ignored), secrets and certificates, TagResources and its like, the
// signatures ACS3-HMAC-SM3, ACS3-RSA-SHA256 and ACS4, bearer tokens, the
// permissions of RAM, and plain HTTP (the gateway's InvalidProtocol.NeedSsl can
// be had as a fault).
package emulator
