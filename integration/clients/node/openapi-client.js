'use strict';

// usage: node openapi-client.js query|body

const openapi = require('@alicloud/openapi-client');
const { RuntimeOptions } = require('@alicloud/tea-util');
const { serve, target } = require('./adapter.js');

const client = new openapi.default(new openapi.Config({
  ...target, type: target.securityToken ? 'sts' : 'access_key', protocol: 'https', readTimeout: 15000,
}));

serve(
  async (action, params) => {
    const { body } = await client.callApi(
      new openapi.Params({
        action, version: '2016-01-20', protocol: 'HTTPS', pathname: '/', method: 'POST',
        authType: 'AK', style: 'RPC', reqBodyType: 'formData', bodyType: 'json',
      }),
      new openapi.OpenApiRequest({ [process.argv[2]]: params }),
      new RuntimeOptions({}),
    );
    return body;
  },
  (err) => ({
    Name: err.name,
    Code: err.code,
    Status: err.statusCode || 0,
    Message: err.message,
    RequestID: err.data ? err.data.RequestId : '',
    Recommend: err.data ? err.data.Recommend : '',
  }),
);
