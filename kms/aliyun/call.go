package aliyun

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	sdkcredentials "github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// operation is one API action.
type operation struct {
	action string
	form   map[string]string // the parameters, all in the body
	// accept judges the body of a successful answer and returns the members
	// that the SDK may see. It keeps what it needs; the body is wiped after.
	accept func(body []byte) (scrub.Picked, error)
	// send makes the SDK build, sign and send one request. It may run twice.
	send func(*sdkkms.Client) error
	// repeatable says that doing it twice does no harm.
	repeatable bool
}

// call runs an operation with valid credentials, and once more with newer ones
// when the service rejects those. Looking for credentials has a deadline of its
// own.
func (c *Client) call(ctx context.Context, op operation) error {
	if ctx.Err() != nil {
		return ended(ctx, op.action, false)
	}
	to, err := c.destination(ctx)
	if err != nil {
		return missing(ctx, op.action, err)
	}
	key, err := c.keys.Retrieve(ctx)
	if err != nil {
		return missing(ctx, op.action, err)
	}
	err = c.within(ctx, op, to, key)
	if !scrub.Rejected(err) {
		return err
	}
	// What was rejected was not done, so any operation may be repeated.
	if newer, lackErr := c.keys.Renew(ctx, key); lackErr == nil && newer != key && c.mayRepeat(ctx) {
		return c.within(ctx, op, to, newer)
	}
	return err
}

// mayRepeat waits for the leave to send one more request, as long as ctx lasts.
func (c *Client) mayRepeat(ctx context.Context) bool {
	return ctx.Err() == nil && (c.cfg.Repeat == nil || c.cfg.Repeat(ctx) == nil)
}

// within runs an operation within the client's timeout and the caller's context.
// A POST that finds its kept-alive connection closed by the server is not
// replayed by net/http, and may not be: the service refuses a nonce it has
// seen. So it is built and signed anew, once, on a new connection.
func (c *Client) within(ctx context.Context, op operation, to destination, key credentials.AccessKey) error {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	x, err := c.try(bounded, op, to, key, c.pooled)
	if err != nil && x.connReset && op.repeatable && c.mayRepeat(bounded) {
		x, err = c.try(bounded, op, to, key, c.fresh)
	}
	var failure *kms.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failure) && failure.Status != 0:
		return failure // an answer arrived, and says more than a late deadline
	case ctx.Err() != nil:
		return ended(ctx, op.action, !x.connected.Load())
	case bounded.Err() != nil:
		late := "timed out after " + c.timeout.String()
		return &kms.Error{Class: kms.ErrTransient, Action: op.action, Detail: late, Unreached: !x.connected.Load()}
	}
	return err
}

// missing turns what a credentials.Provider returned into the error of a call.
func missing(ctx context.Context, action string, err error) error {
	if ctx.Err() != nil {
		return ended(ctx, action, false)
	}
	e := &kms.Error{Class: kms.ErrTransient, Action: action, Detail: "no credentials"}
	if m, ok := errors.AsType[*credentials.Error](err); ok {
		e.Class, e.Detail, e.Hint = m.Class, m.Detail, m.Hint
	}
	return e
}

// ended is the error of a call whose caller gave up, before there was a
// connection to send on or after.
func ended(ctx context.Context, action string, unreached bool) error {
	detail := "canceled"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		detail = "the caller's deadline passed"
	}
	return &kms.Error{Class: kms.ErrTransient, Action: action, Detail: detail, Unreached: unreached, Cause: ctx.Err()}
}

// try sends one request with an SDK client of its own, because a client is not
// safe for concurrent use. Its error is always a *kms.Error of ours: whatever
// text the SDK or a panic may hold is dropped here.
func (c *Client) try(
	ctx context.Context, op operation, to destination, key credentials.AccessKey, transport http.RoundTripper,
) (x *exchange, err error) {
	x = &exchange{ctx: ctx, op: op, endpoint: to.endpoint, transport: transport}
	x.secrets = slices.AppendSeq([]string{key.AccessKeyID, key.AccessKeySecret, key.SecurityToken}, maps.Values(op.form))
	defer func() {
		if recover() != nil {
			err = &kms.Error{Class: kms.ErrBadAnswer, Action: op.action, Detail: "the SDK panicked"}
		}
	}()
	client, err := c.sdkClient(x, to, key)
	if err == nil {
		err = op.send(client)
	}
	switch {
	case x.failure != nil:
		return x, x.failure
	case err != nil:
		why := "the SDK could not make the request or read the answer"
		return x, &kms.Error{Class: kms.ErrBadAnswer, Action: op.action, Status: x.status, Detail: why}
	}
	return x, nil
}

func (c *Client) sdkClient(x *exchange, to destination, key credentials.AccessKey) (*sdkkms.Client, error) {
	cfg := sdk.NewConfig(). // its default scheme is HTTP
				WithScheme("HTTPS").
				WithAutoRetry(false).                // leaks connections, never waits
				WithTimeout(c.timeout + time.Minute) // the exchange's context ends first
	cfg.Transport = x
	client, err := sdkkms.NewClientWithOptions(to.region, cfg, sdkcredentials.CredentialsProvider(static(key)))
	if err != nil {
		return nil, err
	}
	client.Domain = to.endpoint
	client.SetCloseTrace(true)
	// Settings of its own keep the SDK from parsing the environment's: an
	// entry of NO_PROXY that is no regular expression would fail every call.
	// Both values are without effect, because x is not an *http.Transport.
	client.SetNoProxy("^$")
	client.SetHttpsProxy("none")
	return client, nil
}

// static hands a key to the SDK. Unlike the SDK's own providers it is safe for
// concurrent use: it only reads.
type static credentials.AccessKey

func (s static) GetCredentials() (*sdkcredentials.Credentials, error) {
	return &sdkcredentials.Credentials{
		AccessKeyId:     s.AccessKeyID,
		AccessKeySecret: s.AccessKeySecret,
		SecurityToken:   s.SecurityToken,
		ProviderName:    s.GetProviderName(),
	}, nil
}

func (static) GetProviderName() string { return "static" }
