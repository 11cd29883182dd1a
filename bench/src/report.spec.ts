import { table } from './report.js';

describe('a table', () => {
  it('has columns as wide as their longest cell', () => {
    expect(
      table(
        ['tool', 'wall s'],
        [
          ['a tool', '1.00'],
          ['b', null],
        ],
      ),
    ).toEqual(['| tool   | wall s |', '| ------ | -----: |', '| a tool |   1.00 |', '| b      |        |']);
  });
});
