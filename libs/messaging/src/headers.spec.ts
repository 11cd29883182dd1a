import { Fault } from '@casvault/contracts';
import { headers } from '@nats-io/transport-node';
import fc from 'fast-check';
import { faultHeaders, faultOf, fromBytes, toBytes } from './headers.js';

describe('faults on the wire', () => {
  it('come out as they went in, whatever their message', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (message) => {
        const fault = new Fault('POOL_FULL', message, { details: { free: 0, place: null } });
        const out = faultOf(faultHeaders(fault), toBytes(fault));
        expect(out?.toJSON()).toEqual(fault.toJSON());
      }),
    );
  });

  it('of a newer peer are bugs that name the code', () => {
    const received = headers();
    received.set('Nats-Service-Error-Code', 'FROM_THE_FUTURE');
    const fault = faultOf(received, toBytes({ code: 'FROM_THE_FUTURE', message: 'x', details: {} }));
    expect(fault).toMatchObject({ code: 'BUG', details: { code: 'FROM_THE_FUTURE' } });
  });

  it('are none without their header', () => {
    expect(faultOf(undefined, toBytes(new Fault('BUG', 'x')))).toBeNull();
    expect(faultOf(headers(), toBytes(new Fault('BUG', 'x')))).toBeNull();
  });
});

describe('bytes that are no JSON', () => {
  it.each(['', '{', 'text', '\u0000'])('%j is undefined, which no schema accepts', (text) => {
    expect(fromBytes(new TextEncoder().encode(text))).toBeUndefined();
  });
});
