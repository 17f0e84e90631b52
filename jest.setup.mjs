// On a busy machine a test that takes this long hangs, one that takes less may just have had no CPU. (`testTimeout` of a project has no effect.)
jest.setTimeout(60_000);
