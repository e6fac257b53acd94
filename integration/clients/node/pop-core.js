'use strict';

// usage: node pop-core.js GET|POST

const { RPCClient } = require('@alicloud/pop-core');
const { serve, target } = require('./adapter.js');

const client = new RPCClient({
  ...target,
  endpoint: `https://${target.endpoint}`,
  apiVersion: '2016-01-20',
  opts: { timeout: 15000 },
});

serve(
  (action, params) => client.request(action, params, { method: process.argv[2] }),
  (err) => ({
    Name: err.name,
    Code: err.code,
    Status: err.entry ? err.entry.response.statusCode : 0,
    Message: err.message,
    RequestID: err.data ? err.data.RequestId : '',
    Recommend: err.data ? err.data.Recommend : '',
  }),
);
