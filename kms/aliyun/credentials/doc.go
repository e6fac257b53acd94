// Package credentials finds the access key that requests to Alibaba Cloud are
// signed with, and renews it ahead of its expiry.
//
// Find chooses one source, without the network; Options says in which order.
// credentials-go gets the keys, and what it lacks is done around it: its providers
// have no locks, panic on answers that lack a member, keep expiries to themselves,
// return an error where the present token is still good, follow redirects, send
// metadata requests through a proxy, put signed URLs and whole answers into errors,
// print what a command printed, and write fresh tokens back into config.json. So
// each fetch has a provider of its own, built from what files hold now. A Source
// lets one fetch run at a time, gives out what it brought until four fifths of its
// life are over, then renews it in the background and goes on giving it out until
// it expires. A key that has expired is never given out, what fails is said in words
// of our own, and no file is ever written. When the service rejects a key, it is
// renewed at once and the call is made once more.
//
// A profile file, a token file, a command, and every directory and link on the
// way to them must belong to root or us and be writable by nobody else. The
// metadata service is asked with session tokens (IMDSv2); without, only where
// ALIBABA_CLOUD_IMDSV1_DISABLED is "false". It counts as a configured source
// unless ALIBABA_CLOUD_ECS_METADATA_DISABLED is "true". It also tells the
// region, at the first call, where no option, variable or profile does.
//
// Profiles of mode CloudSSO and OAuth live on a person's sign-in. It is used as
// long as it lasts and never renewed: an OAuth refresh token is good for once,
// and the next one would have to be written into the file. Mode External runs a
// command, only where that is allowed, with an environment of PATH, LANG and
// HOME. The modes RsaKeyPair, RamRoleArnWithRoleName and BearerToken are
// refused.
package credentials
