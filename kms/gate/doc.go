// Package gate stands before every call of a mount and spends its calls on the
// key service. It knows the contract of package kms only: neither a vendor, nor
// a transport, nor what a file is.
//
// The words:
//
//   - A load is one question of a reader, with all its attempts; an attempt is
//     one call to the service. Only a load has a deadline of the reader's.
//   - A token is the leave to make one call at the mount's rate. The pace hands
//     tokens out, and more slowly for some seconds after a throttled call.
//   - A slot is the room for one call in flight. The queue hands slots out.
//   - Those who wait stand in line by uid, and the uids take turns. A load that
//     several uids wait for (kms.Callers) stands in the lines of all of them.
//   - A verdict is what one attempt tells about the service: it answered, it
//     throttled, it was silent, or nothing at all.
//   - The breaker refuses calls while the service is silent, whichever the
//     ciphertext. The cooldown refuses single ciphertexts that the service
//     answers with errors of its own.
//
// What holds:
//
//   - No call is made without a token and a slot, and each attempt waits anew.
//   - One uid alone holds at most half of the slots, rounded up, and while k uids hang on to
//     theirs, the next one still finds one, if there are 2^k.
//   - In any time t at most rate·t + burst calls are made.
//   - Only what is transient is tried again, and never beyond the deadline.
//   - No lock is held while a call is made, or while anybody waits.
//   - Nothing of a plaintext is remembered, and of a ciphertext a hash.
package gate
