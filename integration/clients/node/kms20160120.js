'use strict';

const tea = require('@alicloud/tea-typescript');
const kms = require('@alicloud/kms20160120');
const { serve, target } = require('./adapter.js');

const client = new kms.default({ ...target, type: target.securityToken ? 'sts' : 'access_key', readTimeout: 15000 });

const lower = (s) => s[0].toLowerCase() + s.slice(1);

serve(
  async (action, params) => {
    const request = new kms[`${action}Request`]({});
    for (const [name, value] of Object.entries(params)) {
      const [field, key] = name.split('.');
      if (key === undefined) request[lower(field)] = value;
      else request[lower(field)] = { ...request[lower(field)], [key]: value }; // Map.key is a member of an object
    }
    return tea.toMap(await client[lower(action)](request));
  },
  (err) => ({
    Name: err.name,
    Code: err.code,
    Status: 0, // this client's error has none but in its text
    Message: err.message,
    RequestID: err.data ? err.data.RequestId : '',
    Recommend: err.data ? err.data.Recommend : '',
  }),
);
