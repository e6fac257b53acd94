package emulator

import (
	"sync"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// notEmulated are the actions of KMS that exist, by its pages and its SDKs, and
// are not played here. Without them whoever calls one would look for a misspelt name.
var notEmulated = set(
	// Asymmetric keys, imported keys, data keys for others.
	"AsymmetricDecrypt", "AsymmetricEncrypt", "AsymmetricSign", "AsymmetricVerify", "GetPublicKey",
	"GetParametersForImport", "ImportKeyMaterial", "DeleteKeyMaterial",
	"ExportDataKey", "GenerateAndExportDataKey",
	// Of the instances' older API, which is not that of this wire.
	"AdvanceDecrypt", "AdvanceEncrypt", "AdvanceGenerateDataKey",
	// Secrets.
	"CreateSecret", "DeleteSecret", "DescribeSecret", "GetRandomPassword", "GetSecretValue", "ListSecretVersionIds",
	"ListSecrets", "PutSecretValue", "RestoreSecret", "RotateSecret", "UpdateSecret", "UpdateSecretRotationPolicy",
	"UpdateSecretVersionStage",
	// Certificates.
	"CertificatePrivateKeyDecrypt", "CertificatePrivateKeySign", "CertificatePublicKeyEncrypt", "CertificatePublicKeyVerify",
	"CreateCertificate", "DeleteCertificate", "DescribeCertificate", "GetCertificate", "UpdateCertificateStatus", "UploadCertificate",
	// Instances, who may use them, and policies.
	"ConnectKmsInstance", "CreateKmsInstance", "GetDefaultKmsInstance", "GetKmsInstance", "ListKmsInstances", "ReleaseKmsInstance",
	"UpdateKmsInstanceBindVpc",
	"CreateApplicationAccessPoint", "DeleteApplicationAccessPoint", "DescribeApplicationAccessPoint",
	"ListApplicationAccessPoints", "UpdateApplicationAccessPoint",
	"CreateClientKey", "DeleteClientKey", "GetClientKey", "ListClientKeys",
	"CreateNetworkRule", "DeleteNetworkRule", "DescribeNetworkRule", "ListNetworkRules", "UpdateNetworkRule",
	"CreatePolicy", "DeletePolicy", "DescribePolicy", "ListPolicies", "UpdatePolicy",
	"GetKeyPolicy", "ListKeyPolicies", "SetKeyPolicy", "GetSecretPolicy", "SetSecretPolicy",
	// Tags of anything, and the account.
	"ListTagResources", "TagResources", "UntagResources",
	"OpenKmsService",
)

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, name := range names {
		m[name] = true
	}
	return m
}

// exists says whether an action has that name, played here or not.
func exists(action string) bool {
	_, emulated := account.Operations[action]
	return emulated || notEmulated[action] || action == locationAction
}

// once remembers what was said. Its zero value is ready.
type once struct {
	mu   sync.Mutex
	said map[string]bool
}

func (o *once) first(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said[what] {
		return false
	}
	if o.said == nil {
		o.said = map[string]bool{}
	}
	o.said[what] = true
	return true
}

// lacks is the answer to an action that is not played here, and says so in the
// log when it is the first of its name.
func (s *Server) lacks(action string) *wire.Error {
	if s.told.first(action) {
		s.logf("%s is an action of KMS that this emulator does not have; it answers %s", action, wire.ErrNotEmulated.Code)
	}
	return wire.ErrNotEmulated.Saying("The action " + action + " exists in KMS, but this emulator does not have it.")
}
