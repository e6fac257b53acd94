package credentials

import (
	"errors"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

func TestAccessKeyIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		id, secret, token string
		is                error
		says              string
	}{
		"all":            {accessKey, secretKey, token, nil, ""},
		"no token":       {accessKey, secretKey, "", nil, ""},
		"none":           {"", "", "", ErrNone, envKeyID},
		"no secret":      {accessKey, "", "", ErrHalf, envSecret},
		"no id":          {"", secretKey, "", ErrHalf, envKeyID},
		"token alone":    {"", "", token, ErrHalf, envKeyID},
		"line break":     {accessKey, secretKey + "\n", "", nil, envSecret},
		"blank in front": {" " + accessKey, secretKey, "", nil, envKeyID},
		"odd token":      {accessKey, secretKey, token + "\u00e9", nil, envToken},
	} {
		err := AccessKey{tt.id, tt.secret, tt.token}.Check()
		if tt.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		cloudtest.Clean(t, name, err)
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "read credentials: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
