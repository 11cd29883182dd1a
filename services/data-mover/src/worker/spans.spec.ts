import { Fault } from '@casvault/contracts';
import { recordSpans } from '@casvault/testkit';
import { inDiskSpans, inSpan } from './spans.js';

describe('the spans of a transfer', () => {
  const recorder = recordSpans();
  beforeEach(() => recorder.clear());
  const names = () => recorder.ended.map(({ name }) => name);

  it('are one for each disk until its bytes are there, then one for the commit', async () => {
    let bytes = 0;
    const bytesOf = () => ({ 'casvault.bytes.read': bytes });
    const { traceId } = await recorder.inTrace(() =>
      inDiskSpans(['vda', 'vdb'], bytesOf, async (committing) => {
        bytes = 7;
        await committing(() => inSpan('may I?', {}, async () => expect(names()).toHaveLength(2)));
        expect(names()).toEqual(['transfer vda', 'transfer vdb', 'may I?']);
      }),
    );
    expect(names()).toEqual(['transfer vda', 'transfer vdb', 'may I?', 'commit', 'test']);
    expect(recorder.span('transfer vdb').attributes).toEqual({
      'casvault.disk': 'vdb',
      'casvault.bytes.read': 7,
    });
    expect(recorder.span('may I?').parentSpanContext?.spanId).toBe(
      recorder.span('commit').spanContext().spanId,
    );
    for (const span of recorder.ended) expect(span.spanContext().traceId).toBe(traceId);
  });

  it('tell the fault that ended the disks, or the commit', async () => {
    const fault = new Fault('POOL_FULL', 'no space');
    const fails = () => Promise.reject(fault);
    await expect(inDiskSpans(['vda'], () => ({}), fails)).rejects.toBe(fault);
    await expect(
      inDiskSpans(
        ['vdb'],
        () => ({}),
        (committing) => committing(fails),
      ),
    ).rejects.toBe(fault);
    const told = recorder.ended.map(({ name, attributes }) => [name, attributes['casvault.fault']]);
    expect(told).toEqual([
      ['transfer vda', 'POOL_FULL'],
      ['transfer vdb', undefined],
      ['commit', 'POOL_FULL'],
    ]);
  });
});
